.PHONY: sync format check test bench learn docs

sync:  ## install everything into .venv
	uv sync

format:  ## put the source in order
	uv run ruff format
	uv run ruff check --fix

check:  ## what a reviewer need not look for
	uv run ruff format --check
	uv run ruff check
	uv run pyright

test:  ## all promises but the slow ones
	uv run pytest

bench:  ## measure speed on this machine
	uv run handsight bench

learn:  ## the slow promises: that the algorithms learn (hours)
	uv run pytest -m slow

docs:  ## the documentation as a site, in site/
	uv run --group docs mkdocs build --strict
