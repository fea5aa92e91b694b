"""The package's public names and signatures. `python tests/api_surface.py` writes api_surface.json
anew.
"""

import importlib
import inspect
import json
import pkgutil
from pathlib import Path

SNAPSHOT = Path(__file__).with_name("api_surface.json")


def surface():
    import posezoo

    names = ["posezoo", *(module.name for module in pkgutil.walk_packages(posezoo.__path__, "posezoo."))]
    found = {"posezoo": sorted(posezoo.__all__)}
    for name in names[1:]:
        if name.rpartition(".")[2].startswith("_"):
            continue
        module = importlib.import_module(name)
        found[name] = dict(sorted(public(module)))
    return found


def public(module):
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__ or not callable(value):
            continue
        yield name, signature(value)
        if inspect.isclass(value):
            for method, function in vars(value).items():
                if not method.startswith("_") and callable(function):
                    yield f"{name}.{method}", signature(function)


def signature(value):
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return ""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return ", ".join(
        f"{stars.get(parameter.kind, '')}{parameter.name}{'' if parameter.default is parameter.empty else '='}"
        for parameter in parameters
    )


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(surface(), indent=1) + "\n", encoding="utf-8")
