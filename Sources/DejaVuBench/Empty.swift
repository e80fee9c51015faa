// Placeholder of an empty module; the first file that lands here replaces it.
