#!/bin/sh
# Takes out of the image that ours is built on what installs packages, and manuals. In the build only (Dockerfile). What it names and does not
# find ends the build, but for what Debian's Python has in no case or Docker's in no case (`-f`).
set -eu

library=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
rm -r "$library/ensurepip" "$library/pydoc_data"
rm -rf "$library"/idlelib "$library"/tkinter "$library"/turtledemo "$library"/lib2to3 "$library"/test "$library"/config-*
# Docker's Python has pip there (setuptools and wheel too, before 3.12), Debian's has wheels of them.
rm -rf "$library"/site-packages/* /usr/share/python-wheels /usr/local/bin/pip* /usr/local/include /usr/include /usr/local/share/man
# Docker's Python comes without bytecode of its library.
find "$library" -name __pycache__ -type d -exec rm -r {} +

# Perl at the last: others call it as they go.
gone=$(dpkg-query --show --showformat '${Package} ' apt 'libapt-pkg*' debian-archive-keyring)
# What apt of this release checks signatures with.
gone="$gone $(dpkg-query --show --showformat '${Package} ' sqv gpgv 2>/dev/null || true)"
# shellcheck disable=SC2086
dpkg --purge --force-depends --force-remove-essential --force-remove-protected $gone
dpkg --purge --force-depends --force-remove-essential perl-base

# Character sets of glibc's iconv: Python and the libraries of its packages have their own.
rm -r /usr/lib/*/gconv
rm -rf /var/lib/apt /var/cache/* /var/log/* /var/lib/dpkg/*-old /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian
find /usr/share/doc -type f ! -name copyright -delete
