"""Every architecture, one file each; a file put here exists: it is imported, and so registered, with the others."""

import importlib
import pkgutil

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")
