#!/usr/bin/env python3
"""Packs static binaries into a from-scratch image: an OCI image layout in a tar archive.

`ctr images import`, `docker load`, `podman load` and `kind load image-archive` all take it: beside the layout's
index.json stands the manifest.json that older docker reads. The same input gives the same bytes, and so the same
digests: no times, no owners, sorted entries, an uncompressed layer.

usage: image.py OUT.tar NAME:TAG [--user UID] [--entrypoint "PROGRAM ARG ..."] [--label KEY=VALUE]...
                SOURCE=/path/in/image[:link,link...] ...
"""
import argparse
import hashlib
import io
import json
import os
import platform
import sys
import tarfile

OCI = "application/vnd.oci.image"
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def entry(name, kind=tarfile.REGTYPE, mode=0o644, size=0, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname, info.mtime = kind, mode, size, link, 0
    return info


def layer(files):
    """The one layer: /tmp, the folders of the files, the files, and symbolic links to them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        folders, contents, links = {"tmp"}, [], []
        for spec in files:
            source, _, target = spec.partition("=")
            path, _, names = target.partition(":")
            if not source or not path.startswith("/"):
                sys.exit(f"image.py: {spec!r} is not SOURCE=/path/in/image")
            path = path.lstrip("/")
            contents.append((path, os.path.realpath(source)))
            links += [(name.lstrip("/"), "/" + path) for name in names.split(",") if name]
        for path, _ in contents + links:
            while path := os.path.dirname(path):
                folders.add(path)
        for folder in sorted(folders):
            tar.addfile(entry(folder, tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755))
        for path, source in sorted(contents):
            with open(source, "rb") as file:
                tar.addfile(entry(path, mode=0o755, size=os.path.getsize(source)), file)
        for path, to in sorted(links):
            tar.addfile(entry(path, tarfile.SYMTYPE, 0o777, link=to))
    return out.getvalue()


def main():
    parse = argparse.ArgumentParser(usage=__doc__)
    parse.add_argument("out")
    parse.add_argument("name")
    parse.add_argument("files", nargs="+")
    parse.add_argument("--user", default="")
    parse.add_argument("--entrypoint", default="")
    parse.add_argument("--label", action="append", default=[])
    args = parse.parse_args()

    blobs = {}

    def blob(data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def as_json(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    tar_layer = blob(layer(args.files), f"{OCI}.layer.v1.tar")
    config = blob(as_json({
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {
            "Entrypoint": args.entrypoint.split(),
            "User": args.user,
            "WorkingDir": "/",
            "Labels": dict(label.split("=", 1) for label in args.label),
        },
        "rootfs": {"type": "layers", "diff_ids": [tar_layer["digest"]]},
    }), f"{OCI}.config.v1+json")
    manifest = blob(as_json({
        "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": config, "layers": [tar_layer],
    }), f"{OCI}.manifest.v1+json")
    manifest["annotations"] = {
        "io.containerd.image.name": args.name,
        "org.opencontainers.image.ref.name": args.name.rpartition(":")[2],
    }

    def path(descriptor):
        return "blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")

    files = {
        "oci-layout": as_json({"imageLayoutVersion": "1.0.0"}),
        "index.json": as_json({
            "schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [manifest],
        }),
        "manifest.json": as_json([{"Config": path(config), "RepoTags": [args.name], "Layers": [path(tar_layer)]}]),
        **blobs,
    }
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    with tarfile.open(args.out + ".new", "w", format=tarfile.PAX_FORMAT) as tar:
        for folder in ("blobs", "blobs/sha256"):
            tar.addfile(entry(folder, tarfile.DIRTYPE, 0o755))
        for name in sorted(files):
            tar.addfile(entry(name, size=len(files[name])), io.BytesIO(files[name]))
    os.replace(args.out + ".new", args.out)
    print(f"{args.name} {manifest['digest']} {args.out}")


if __name__ == "__main__":
    main()
