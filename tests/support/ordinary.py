"""What a user is told whom permissions concern, whoever runs the tests."""

import os
import subprocess
import sys
from pathlib import Path


def as_ordinary_user(script: str, folder: Path, *arguments: str) -> str:
    """What a script prints that runs as a user whom permissions concern; below ``folder`` all is that user's."""
    drop = ""
    if os.geteuid() == 0:
        user = 65534
        for top, _, files in os.walk(folder):
            for path in (top, *(os.path.join(top, name) for name in files)):
                os.chown(path, user, user, follow_symlinks=False)
        for parent in folder.parents:  # pytest keeps its folders to itself
            if parent.stat().st_mode & 0o001 == 0:
                parent.chmod(parent.stat().st_mode | 0o011)
        # After the imports: the interpreter itself may lie where others cannot reach it.
        drop = f"import os; os.setgroups([]); os.setgid({user}); os.setuid({user})\n"
    imports, body = script.split("\n\n", 1)
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}\n{drop}{body}", *arguments],
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
