"""The report page, served to this machine alone and renewed while its sweep runs."""
