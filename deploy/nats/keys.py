"""The keys of all identities: one file for each, made once, readable by its owner alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.contracts.identities import Identity
from shared.nkey_seeds import new_seed, public_key, read_seed

_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Keys:
    """The directory that holds ``gateway.nk`` and so on."""

    directory: Path

    def file(self, identity: Identity) -> Path:
        """Where the seed of ``identity`` is."""
        return self.directory / f"{identity}.nk"

    def ensure(self) -> Mapping[Identity, str]:
        """Make what is missing; gives the public keys.

        Raises:
            WrongSeed: a file is there and holds no seed.
            OSError: the directory cannot be written.
        """
        self.directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        self.directory.chmod(_DIRECTORY_MODE)
        for identity in Identity:
            if not self.file(identity).exists():
                self._write(identity, new_seed())
            self.file(identity).chmod(_FILE_MODE)
        return self.public_keys()

    def public_keys(self) -> Mapping[Identity, str]:
        """What the broker knows each identity by.

        Raises:
            WrongSeed: a file is missing, or holds no seed.
        """
        return {identity: public_key(read_seed(self.file(identity))) for identity in Identity}

    def _write(self, identity: Identity, seed: str) -> None:
        # Under another name first: a start that is killed halfway must not leave half a key.
        draft = self.file(identity).with_suffix(".new")
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{seed}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.file(identity))
