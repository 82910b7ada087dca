"""The project's folder on Python's path: every script here imports this before the rest."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))
