"""The meaning of English sentences, as vectors: for chapters and for the search in transcripts. Extra `[meaning]`."""
