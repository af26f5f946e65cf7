"""One writer per published layout. Each takes a folder to fill and how many records to put there."""
