"""ragserve beside what users would otherwise pick: LightRAG, OGX and Hayhooks."""
