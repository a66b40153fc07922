"""What a model directory holds, an operator's as well as our own."""

MODEL_FILE = "model.onnx"
"""The graph, with its weights."""
TOKENIZER_FILE = "tokenizer.json"
"""The tokenizer as the `tokenizers` library saves it."""
