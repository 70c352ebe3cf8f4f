"""From records to the roadmap: `roadmap` computes it, `terminal` and `markup` show it."""
