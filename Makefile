# Verbs over CMake; `make help` lists them. Nothing is decided here.
.DEFAULT_GOAL := build
.PHONY: help deps build run test debug asan tsan fuzz lint format clean install uninstall deb
T ?= 60
PREFIX ?= /usr/local

help:            ## list these verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

deps:            ## install the Debian packages that a build needs
	scripts/install_deps

build:           ## build build/llm (release)
	cmake --preset release
	cmake --build --preset release

test: build      ## build and run all tests
	scripts/run_tests build

debug asan tsan: ## build and run all tests with assertions, ASan + UBSan, or TSan
	cmake --preset $@
	cmake --build --preset $@
	scripts/run_tests build-$@

fuzz:            ## run every fuzz target for T seconds: make fuzz T=60
	scripts/install_deps --dev
	scripts/fuzz $(T)

lint:            ## include directions, exported symbols, formatting, clang-tidy
	scripts/install_deps --dev
	scripts/lint

format:          ## clang-format everything
	git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs clang-format -i

install:         ## install what is built: make install PREFIX=/usr/local DESTDIR=
	@test -x build/llm || { echo "make install: expected build/llm, found none; make build makes it" >&2; exit 1; }
	DESTDIR="$(DESTDIR)" cmake --install build --prefix "$(PREFIX)" --strip

uninstall:       ## remove what make install installed last (with the same DESTDIR)
	sed 's|^|$(DESTDIR)|' build/install_manifest.txt | xargs -d '\n' rm -fv

deb: build       ## build a Debian package in build/package
	scripts/install_deps --dev
	cpack --config build/CPackConfig.cmake -B build/package

clean:           ## remove every build folder
	rm -rf build build-*
