"""Other people's file formats, each read (and written, where it makes sense) in one file."""
