"""Addresses of tracking servers: the default one, and how they may be shown and stored, without
passwords and tokens.
"""

import re
from socket import gaierror

from orchestrator.errors import UsageError
from orchestrator.store.store import Store

_HIDDEN = "***"
_SHORTEST = 2


def without_password(uri: str) -> str:
    """An address that may be shown: neither a user in front of the host nor values behind a `?`."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.startswith(("sqlite", "file")):
        return uri
    place, question, query = rest.partition("?")
    host, slash, path = place.partition("/")
    shown = re.sub(r"=[^&;#]*", f"={_HIDDEN}", query) if "=" in query else _HIDDEN * bool(query)
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}{question}{shown}"


def without_secrets(text: str, uri: str) -> str:
    """Hide the secrets of an address in what somebody says about it, wherever they are repeated,
    whole or in parts.
    """
    text = text.replace(uri, without_password(uri))
    rest = uri.partition("://")[2]
    place, _, query = rest.partition("?")
    user = place.partition("/")[0].rpartition("@")[0]
    parts = [user, *user.split(":", 1)[1:], *re.findall(r"=([^&;#]*)", query)]
    if query and "=" not in query:
        parts.append(query)
    for part in sorted(parts, key=len, reverse=True):
        if len(part) > _SHORTEST:  # else it is no secret, and in every word
            text = text.replace(part, _HIDDEN)
    return text


def reason(error: BaseException) -> str:
    """The reason in an error of MLflow's: that of the connection where one is at the bottom of it;
    of a database without the statement.
    """
    below = error
    while cause := below.__cause__ or below.__context__:
        below = cause
    if isinstance(below, ConnectionError | TimeoutError | gaierror) and below.strerror:
        return below.strerror
    return str(error).partition("[SQL:")[0]


def default_tracking_uri(store: Store) -> str:
    """A SQLite file in the store. Raises `UsageError` where its path cannot be written as an
    address.
    """
    if "?" in str(store.root):
        message = (
            f"MLflow's database cannot be addressed below {store.root}: its path has a '?'; "
            "choose another --store"
        )
        raise UsageError(f"{message}, name a server with --tracking-uri, or add --no-tracking")
    return f"sqlite:///{store.root / 'mlflow.db'}"
