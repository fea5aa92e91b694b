"""For mkdocstrings: `posezoo.create` is documented where it is written, not by its stub of overloads."""

from typing import Any

import griffe


class PublicNames(griffe.Extension):
    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        if pkg.name == "posezoo":
            for name in ("create", "create_model"):
                pkg.set_member(name, griffe.Alias(name, f"posezoo.registry.{name}", parent=pkg))
