"""Ablation sweeps whose roadmap can be trusted."""
