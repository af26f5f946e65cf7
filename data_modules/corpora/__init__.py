"""The published corpora, one file each: its datasheet first, its reader below."""
