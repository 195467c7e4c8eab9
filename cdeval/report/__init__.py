"""The report of a study: tables, progress, pictures and the page. It reads numbers and files, never torch."""
