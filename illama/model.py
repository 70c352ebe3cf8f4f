"""The network, top to bottom: a ViT whose parts can be exchanged one by one for those of LLaMA
(arXiv 2404.06773).

Parameter names are those of the authors' released iLLaMA models, and for the plain ViT those of
timm. Shapes: B images, P patches, N tokens (patches and class token), R tokens that are asked for,
D channels, H heads, C channels of a head.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from illama.attention import ALL, maps_recorded
from illama.blocks import Block, Exit, make_head, make_norm, seeded_part
from illama.config import ModelConfig, UserModel
from illama.config.networks import build
from illama.config.parts import Part
from illama.cost import macs, tokens
from illama.drop import NO_DROP, Drop, drop_elements, drop_paths
from illama.first_values import init_weights
from illama.masks import Mask, exact, rates_of_blocks
from illama.parts.place import Where
from illama.patches import PatchEmbed
from illama.rotary import rotations
from illama.scans import order_of


def _learned(count: int, width: int) -> nn.Parameter | None:
    """So many vectors, (1, count, width), not yet drawn; None of none."""
    if not count:
        return None
    return nn.Parameter(torch.empty(1, count, width))


class VisionTransformer(nn.Module):
    """A network from images to class logits. `soft_mask_rate` is alpha of equation 2: 0 for
    inference.
    """

    rotation: Tensor | None
    order: Tensor

    def __init__(self, config: ModelConfig, seed: int | None = None) -> None:
        """Weights start from `seed`; without one, from torch's global random state."""
        super().__init__()
        self.config = config
        self.drop_path_rate, self.grad_checkpointing = 0.0, False
        if seed is None and config.has_parts:  # they are drawn while they are made
            seed = int(torch.randint(2**31, (), device="cpu"))
        count = tokens(config)
        self.patch_embed = PatchEmbed(config)
        self.cls_token = _learned(int(config.class_token != "none"), config.embed_dim)
        positions = config.learns_positions * (count - config.registers)
        self.pos_embed = _learned(positions, config.embed_dim)
        self.registers = _learned(config.registers, config.embed_dim)
        self.position: nn.Module | None = None
        if isinstance(config.position, Part):
            self.position = seeded_part(config.position, config.place(0), "position", seed)
        self.blocks = nn.ModuleList(Block(config, layer, seed) for layer in range(config.depth))
        self.norm = make_norm(config, config.depth, "norm", seed)
        self.head = make_head(config, seed)
        self.exits = nn.ModuleList(Exit(config) for _ in config.exits)

        self.register_buffer("rotation", None, persistent=False)
        if config.rotates:
            self.rotation = rotations(config).to(torch.get_default_device())
        order = torch.tensor(order_of(config.scan, *config.grid))
        self.register_buffer("order", order, persistent=False)
        kinds = dict.fromkeys(kind for kind in config.attentions if kind != "bidirectional")
        self.masks = nn.ModuleDict({kind: Mask(kind, config.mask_form, count) for kind in kinds})
        self.layer_masks: nn.ModuleList | None = None
        self.soft_mask_rate: float | tuple[float, ...] = 0.0
        if seed is None:
            seed = int(torch.randint(2**31, (), device="cpu"))
        init_weights(self, seed)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the weights; rotations are computed afresh, for they must not be rounded
        with them.
        """
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.rotation is not None:
            finely = rotations(self.config, exact(self.rotation.dtype))
            self.rotation = finely.to(self.rotation.device)
        return self

    @property
    def macs_per_image(self) -> int:
        """Multiply-accumulates as the paper counts them, with all tokens of the last block."""
        return macs(self.config)

    def no_weight_decay(self) -> set[str]:
        """Names of own parameters that weight decay leaves alone beside those that it leaves
        alone in every network.
        """
        return {"registers"}

    @property
    def num_classes(self) -> int:
        """Outputs of the head; 0 where there is none."""
        return self.config.num_classes

    @property
    def num_features(self) -> int:
        """D: channels of the features."""
        return self.config.embed_dim

    def get_classifier(self) -> nn.Module:
        """The head, which turns features into logits."""
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the head by an untrained one of `num_classes` outputs, drawn from torch's global
        random state; by none for 0.

        Raises `ValueError` for a number that the settings refuse.
        """
        settings = self.config.model_dump(mode="python") | {"num_classes": num_classes}
        self.config = ModelConfig.model_validate(settings)
        seed = int(torch.randint(2**31, (), device="cpu"))
        like = next(self.parameters())
        self.head = make_head(self.config, seed)
        init_weights(self, seed, "head.")
        self.head.to(like.device, like.dtype)

    def set_drop_path_rate(self, rate: float) -> None:
        """Drop branches in training mode, from none of the first block to `rate` of the last.

        The trainer of this package draws by its own seed and leaves this at 0. Raises `ValueError`
        unless `rate` is at least 0 and below 1.
        """
        if not 0 <= rate < 1:
            raise ValueError(f"drop_path_rate is {rate}; it must be at least 0 and below 1")
        self.drop_path_rate = rate

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute each block again in the backward pass instead of keeping what is inside of it:
        less memory for about a third more time, and the same gradients.
        """
        self.grad_checkpointing = enable

    def set_soft_mask_rate(self, alpha: float | Sequence[float]) -> None:
        """Blend the masks with full attention: alpha 1 is bidirectional, 0 the masks of
        `config.attention`.

        One number is of every block, a sequence has one for each. Raises `ValueError` when alpha is
        outside 0 to 1, or above 0 in a model without a mask.
        """
        rates = rates_of_blocks(alpha, self.config.depth, masked=self.config.masked)
        self.soft_mask_rate = float(alpha) if isinstance(alpha, int | float) else rates
        if self.layer_masks is None and not isinstance(alpha, int | float):
            self.layer_masks = nn.ModuleList(
                self._own_mask(kind) for kind in self.config.attentions
            )
        for mask in self.masks.values():
            cast(Mask, mask).set_alpha(max(rates))
        if self.layer_masks is not None:
            for own, rate in zip(self.block_masks(), rates, strict=True):
                if own is not None:
                    own.set_alpha(rate)

    def _own_mask(self, kind: str) -> nn.Module:
        """A mask for one block alone, or nothing."""
        if kind == "bidirectional":
            return nn.Identity()
        like = cast(Mask, self.masks[kind]).matrix
        return Mask(kind, self.config.mask_form, self.config.tokens).to(like)

    def block_masks(self) -> list[Mask | None]:
        """Mask of each block as it stands; None where every token sees every other."""
        if self.layer_masks is None:
            return [self._shared_mask(kind) for kind in self.config.attentions]
        return [mask if isinstance(mask, Mask) else None for mask in self.layer_masks]

    def _shared_mask(self, kind: str) -> Mask | None:
        if kind == "bidirectional":
            return None
        return cast(Mask, self.masks[kind])

    def attention_maps(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Attention maps of every block, before and after the mask, each (B, H, N, N).

        images: (B, channels, height, width), normalised. Raises `ValueError` where a block has
        another mixer than attention.
        """
        with maps_recorded() as maps:
            self.encode(images)
        if len(maps) != len(self.blocks):
            raise ValueError(f"{len(maps)} of {len(self.blocks)} blocks have attention maps")
        return maps

    def forward(
        self, images: Tensor, drop: Drop | None = None, *, with_exits: bool = False
    ) -> Tensor:
        """images: (B, channels, height, width), normalised; returns logits (B, classes), or with
        those of each early exit in front of them (exits + 1, B, classes).

        Where a class token is read out, the last block computes no other token.
        """
        rows = self._read_rows()
        if not with_exits:
            return self._read(self.norm(self.encode(images, drop, rows)))
        states = list(self._states(images, drop, rows))
        early = [
            exit_(states[block - 1], self._pooled)
            for exit_, block in zip(self.exits, self.config.exits, strict=True)
        ]
        return torch.stack([*early, self._read(self.norm(states[-1]))])

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens behind the last norm, (B, N, D), in the order of the sequence.

        images: (B, channels, height, width), normalised.
        """
        features: Tensor = self.norm(self.encode(images))
        return features

    def forward_intermediates(
        self,
        images: Tensor,
        indices: int | Sequence[int] | None = None,
        *,
        norm: bool = False,
        output_fmt: Literal["NCHW", "NLC"] = "NCHW",
        intermediates_only: bool = False,
        return_prefix_tokens: bool = False,
    ) -> list[Any] | tuple[Tensor, list[Any]]:
        """Patches as blocks leave them, beside the tokens behind the last norm (B, N, D).

        `indices` are numbers of blocks, negative ones from the end; a number n stands for the last
        n blocks, None for all. Each result is (B, D, rows, columns), or (B, P, D) for `NLC`, by
        place in the image whatever the scan, behind the last norm with `norm`. With
        `return_prefix_tokens` it is a pair with the class token and registers, (B, N - P, D),
        wherever they stand. Raises `ValueError` for a block that is not there or another format.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"output_fmt is {output_fmt!r}; allowed: NCHW, NLC")
        wanted = self._wanted_blocks(indices)
        states = list(self._states(images, None, ALL))
        chosen = [states[index] for index in wanted]
        if norm:
            chosen = [self.norm(state) for state in chosen]
        found: list[Any] = [self._by_place(state, output_fmt) for state in chosen]
        if return_prefix_tokens:
            prefixes = [self._beside_patches(state) for state in chosen]
            found = list(zip(found, prefixes, strict=True))
        if intermediates_only:
            return found
        return self.norm(states[-1]), found

    def _beside_patches(self, state: Tensor) -> Tensor:
        """Class token and registers, (B, N - P, D), of tokens (B, N, D)."""
        patches = self.config.place(0).patches
        return torch.cat((state[:, : patches.start], state[:, patches.stop :]), dim=1)

    def _wanted_blocks(self, indices: int | Sequence[int] | None) -> list[int]:
        """Numbers of blocks from 0."""
        depth = len(self.blocks)
        if indices is None:
            return list(range(depth))
        if isinstance(indices, int):
            indices = range(-indices, 0)
        for number in indices:
            if not -depth <= number < depth:
                raise ValueError(f"there is no block {number}; blocks are 0 to {depth - 1}")
        return [number % depth for number in indices]

    def _by_place(self, state: Tensor, output_fmt: str) -> Tensor:
        """Patches row by row: (B, D, rows, columns) or (B, P, D), of tokens (B, N, D)."""
        patches = state[:, self.config.place(0).patches]
        if self.config.scan != "raster":
            patches = patches[:, self.order.argsort()]
        if output_fmt == "NLC":
            return patches
        return patches.transpose(1, 2).reshape(len(state), -1, *self.config.grid)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, classes) of what `forward_features` returns; with `pre_logits` what the head's
        linear is given, (B, D).

        Raises `ValueError` for `pre_logits` where the readout is a part, which has none.
        """
        if not isinstance(self.config.readout, Part):
            return self._pooled(features) if pre_logits else self._read(features)
        if pre_logits:
            raise ValueError(
                f"readout {self.config.readout.text} has no features before a linear layer"
            )
        return self._read(features[:, self._read_rows()])

    def _read(self, features: Tensor) -> Tensor:
        """Logits (B, classes) of normed tokens (B, R, D): all, or those that the readout looks
        at.
        """
        if not isinstance(self.config.readout, Part):
            features = self._pooled(features)
        logits: Tensor = self.head(features)
        return logits

    def _pooled(self, features: Tensor) -> Tensor:
        """The class token, or the patches' mean. (B, R, D) to (B, D)."""
        if self.config.readout != "mean" and self.cls_token is not None:
            return features[:, 0 if self.config.class_token == "first" else -1]
        if self.config.tokens > self.config.patches:
            features = features[:, self.config.place(0).patches]
        return features.mean(dim=1)

    def _read_rows(self) -> slice:
        """Tokens that the readout looks at; the last block computes no other."""
        if isinstance(self.config.readout, Part):
            rows: slice = getattr(self.head, "rows", ALL)
            return rows
        if self.config.readout == "mean":
            return ALL
        return {"first": slice(0, 1), "last": slice(-1, None), "none": ALL}[self.config.class_token]

    def encode(self, images: Tensor, drop: Drop | None = None, rows: slice = ALL) -> Tensor:
        """images: (B, channels, height, width); returns (B, R, D), the tokens in `rows` as the
        last block leaves them.
        """
        *_, x = self._states(images, drop, rows)
        return x

    def _states(self, images: Tensor, drop: Drop | None, rows: slice) -> Iterator[Tensor]:
        """Tokens as each block leaves them, (B, N, D); of the last one those in `rows` alone."""
        if drop is None and self.training and self.drop_path_rate:
            depth, count = len(self.blocks), images.shape[0]
            drop = drop_paths(self.drop_path_rate, depth, count, images.device)
        if drop is None:
            drop = NO_DROP
        x, rotation = self.embedded(images, drop)
        asked = [ALL] * (len(self.blocks) - 1) + [rows]
        stages = zip(self.blocks, self.block_masks(), asked, strict=True)
        for index, (block, mask, wanted) in enumerate(stages):
            x = self._through(block, x, Where(wanted, rotation, mask), drop.of_block(index))
            yield x

    def _through(self, block: nn.Module, x: Tensor, where: Where, paths: Tensor | None) -> Tensor:
        """Output of one block, computed again in the backward pass where checkpointing is on."""
        if self.grad_checkpointing and torch.is_grad_enabled():
            kept: Tensor = checkpoint(block, x, where, paths, use_reentrant=False)
            return kept
        out: Tensor = block(x, where, paths)
        return out

    def embedded(self, images: Tensor, drop: Drop = NO_DROP) -> tuple[Tensor, Tensor | None]:
        """Return what enters the first block, (B, N, D), and the rotation."""
        x: Tensor = self.patch_embed(images)  # (B, P, D)
        if self.config.scan != "raster":
            x = x[:, self.order]
        x = x.type_as(next(self.parameters()))  # as fine as the weights, whatever autocast rounds
        if self.cls_token is not None:
            # len(x) would fix the batch size of an exported network
            token = self.cls_token.expand(x.shape[0], -1, -1)
            parts = {"first": (token, x), "last": (x, token)}
            x = torch.cat(parts[self.config.class_token], dim=1)  # (B, N, D)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        x, rotation = self._positioned(x)
        if drop.inputs is not None:
            x = drop_elements(x, *drop.inputs)
        return x, rotation

    def _positioned(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens with the position of a part and with registers, and the rotation. x: (B, N -
        registers, D).
        """
        rotation = self.rotation
        if self.position is not None:
            x = self.position(x)
            turned = getattr(self.position, "rotation", None)
            rotation = turned() if turned else None
        if self.registers is None:
            return x, rotation
        registers = self.registers.expand(x.shape[0], -1, -1)
        first, last = self.config.class_token == "first", self.config.class_token == "last"
        before, rest = x[:, :first], x[:, first : x.shape[1] - last]
        behind = x[:, x.shape[1] - last :]
        tokens = (rest, registers, behind) if last else (before, registers, rest)
        return torch.cat(tokens, dim=1), rotation  # (B, N, D)


def make_network(config: ModelConfig | UserModel, seed: int) -> nn.Module:
    """Ours, or what a user's function builds; both from images (B, channels, height, width) to
    logits (B, classes).
    """
    return build(config, seed) if isinstance(config, UserModel) else VisionTransformer(config, seed)
