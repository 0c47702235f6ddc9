"""A recipe's name in the cache changes with what it is made from, and with nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.cluster import images, layout
from tests.cluster.images.oci import Layout
from tests.cluster.images.recipe import Kitchen, Recipe


def cook(_kitchen: Kitchen, _layout: Layout) -> None:
    """A recipe that makes nothing."""


def tool(directory: Path, content: str) -> dict[str, Path]:
    directory.mkdir()
    (directory / "daemon").write_text(content)
    return {"daemon": directory / "daemon"}


def test_cache_item_changes_with_a_used_tool_and_not_with_another(tmp_path: Path) -> None:
    recipe = Recipe(name="thing", make=cook, sources=["images/bases.py"], tools=["daemon"])
    before = tool(tmp_path / "one", "x")

    assert recipe.cache_item(before, "go1") == recipe.cache_item({**before, "other": tmp_path}, "go1")
    assert recipe.cache_item(before, "go1") != recipe.cache_item(tool(tmp_path / "two", "x"), "go1")


def test_cache_item_changes_with_go_only_where_go_is_used() -> None:
    with_go = Recipe(name="thing", make=cook, sources=[], uses_go=True)
    without = Recipe(name="thing", make=cook, sources=[])

    assert with_go.cache_item({}, "go1") != with_go.cache_item({}, "go2")
    assert without.cache_item({}, "go1") == without.cache_item({}, "go2")


def test_every_recipe_names_sources_that_are_there_and_tools_that_are_asked_for() -> None:
    for recipe in images.RECIPES:
        assert all((layout.SOURCES / source).is_file() for source in recipe.sources), recipe.name
        assert set(recipe.tools) <= set(images.TOOLS), recipe.name


def test_every_file_of_the_package_counts_for_some_recipe() -> None:
    """A source that no recipe names would change images without changing their names in the cache."""
    package = layout.SOURCES / "images"
    files = {str(file.relative_to(layout.SOURCES)) for file in package.rglob("*") if file.suffix in {".py", ".go", ".c", ".mod"}}
    named = {source for recipe in images.RECIPES for source in (*recipe.sources, *recipe.SHARED)}

    assert files - named == {"images/__init__.py", "images/storage.py"}  # neither makes an image
