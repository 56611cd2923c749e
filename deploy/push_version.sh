#!/bin/sh
# push_version.sh [REMOTE]: tags this commit with the version in pyproject.toml, and pushes the tag, which starts a release.
#
# Refuses a tree that has changes, and a version that was released before; runs `make check` first.
set -eu

remote=${1:-origin}
version=$("${PYTHON:-python3}" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
tag="v$version"

refuse() {
  echo "not released: $1" >&2
  exit 1
}

is_clean() {
  [ -z "$(git status --porcelain)" ]
}

is_clean || refuse "the tree has changes that are not committed"
[ -z "$(git tag --list "$tag")" ] || refuse "$tag is there already; give the next version in pyproject.toml"
[ -z "$(git ls-remote --tags "$remote" "refs/tags/$tag")" ] || refuse "$remote has $tag already"
commit=$(git rev-parse HEAD)
make check || refuse "the checks fail"
is_clean || refuse "the checks changed the tree"
[ "$(git rev-parse HEAD)" = "$commit" ] || refuse "something else was checked out meanwhile"
git tag --annotate "$tag" --message "Release $version" "$commit"
git push "$remote" "refs/tags/$tag" || { git tag --delete "$tag" >/dev/null; refuse "$remote did not take the tag"; }
echo "$tag is released: the pipeline builds its images"
