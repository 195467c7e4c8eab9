"""Files on disk: run folders, the ledger, provenance, locks."""
