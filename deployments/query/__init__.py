"""The query room: from a question to a cited answer, inside the ingress replica."""
