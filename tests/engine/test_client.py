from __future__ import annotations

import subprocess
import sys

HEAVY = ("starlette", "uvicorn", "pydantic", "sqlite3", "psutil", "h11", "asyncio")


def test_the_client_imports_the_standard_library_only() -> None:
    program = (
        f"import sys, modelport_engine.client; print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
