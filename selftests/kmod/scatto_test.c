// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>

MODULE_DESCRIPTION("Drives the in-kernel API of scatto for its tests");
MODULE_LICENSE("GPL");
