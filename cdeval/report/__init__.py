"""What people look at: tables, progress, the page. Reads numbers and files, never torch."""
