/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * The one place where the version of libscatto is written: the build derives
 * the shared object's name and libscatto.pc from it.
 */
#ifndef _SCATTO_VERSION_H
#define _SCATTO_VERSION_H

#define SCATTO_VERSION_MAJOR	0
#define SCATTO_VERSION_MINOR	1
#define SCATTO_VERSION_PATCH	0
#define SCATTO_VERSION		"0.1.0"

#endif /* _SCATTO_VERSION_H */
