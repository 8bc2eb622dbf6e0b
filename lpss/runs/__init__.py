"""Looking after runs: found, chosen, shown, compared, cleaned up, followed. Reads files only, without torch."""
