"""How the cells of the pages run: the warm kernels, batches of pages, the cache, figures."""
