"""The vector store: chunks in, the passages that fit a question out.

`milvus.MilvusStore` keeps them in Milvus (or Milvus Lite), `memory.MemoryStore` in memory; both
pass the same tests. `filters` is the language in which a caller narrows a search.
"""
