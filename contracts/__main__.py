"""`python -m contracts` writes the generated documents anew."""

from pathlib import Path

from contracts.documents import documents

for path, text in documents().items():
    target = Path(__file__).parent / path
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)
