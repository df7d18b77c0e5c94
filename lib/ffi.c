// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The inline functions once more, as symbols for languages that cannot include
 * the header. Their prototypes are their definitions.
 */
#define SCATTO_INLINE
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wmissing-declarations"
#include <scatto.h>
