"""Check a folder that `save_pretrained` wrote, show its card, and upload it to the Hugging Face Hub.

    python examples/publish.py runs/arrows you/arrows --private
    python examples/publish.py runs/arrows you/arrows --dry-run

The folder is loaded as the Hub's users will load it, and the card must state data, licence and
metrics. `hf auth login` stores the token.
"""

import argparse
from pathlib import Path

import posezoo
from posezoo.weights import read_record


def missing(record: posezoo.Weights) -> list[str]:
    """Return the fields of a record that a reader of the card needs and that are not stated."""
    return [name for name in ("data", "license", "metrics") if not getattr(record, name)]


def main(arguments: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="written by save_pretrained")
    parser.add_argument("repo", help="org/name on the Hub; created if it does not exist")
    parser.add_argument("--private", action="store_true", help="visibility of a new repository")
    parser.add_argument("--revision", help="a branch. Defaults to the main one")
    parser.add_argument("--dry-run", action="store_true", help="check and show, do not upload")
    args = parser.parse_args(arguments)

    place = f"local-dir:{args.folder}"
    model = posezoo.create(place, pretrained=True)
    keypoints, _ = model.predict(model.example_input())
    _, record = read_record(place)
    card = (args.folder / "README.md").read_text(encoding="utf-8")
    print(card)
    print(f"{model.architecture}: the folder loads, and predicts {tuple(keypoints.shape)}")
    if missing(record):
        parser.error(f"the card does not state {', '.join(missing(record))}; pass them to save_pretrained")
    if str(args.folder.resolve().parent) in card:
        parser.error("the card contains a path of this machine")
    if args.dry_run:
        return card

    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(args.repo, private=args.private, exist_ok=True)
    if args.revision:
        api.create_branch(args.repo, branch=args.revision, exist_ok=True)
    url = api.upload_folder(repo_id=args.repo, folder_path=args.folder, revision=args.revision).commit_url
    print(url)
    return str(url)


if __name__ == "__main__":
    main()
