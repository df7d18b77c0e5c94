// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mapping: the page tables are what enforces the roles.
 *
 * Ring pages are mapped by PFN: get_user_pages() refuses such VMAs, there is no
 * ->access for ptrace and /proc/pid/mem, so the only way to write is the VMA
 * itself, and when the last writable one is gone nobody can.
 */
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "internal.h"

static bool scatto_vma_writable(const struct vm_area_struct *vma)
{
	/* Whatever it is now, mprotect() could make it so. */
	return vma->vm_flags & VM_MAYWRITE;
}

static void scatto_vma_open(struct vm_area_struct *vma)
{
	struct scatto_endpoint *ep = vma->vm_private_data;
	struct scatto_channel *ch = scatto_endpoint_channel(ep);

	mutex_lock(&ch->lock);
	scatto_endpoint_mapped(ep, vma->vm_mm, scatto_vma_writable(vma));
	mutex_unlock(&ch->lock);
}

static void scatto_vma_close(struct vm_area_struct *vma)
{
	struct scatto_endpoint *ep = vma->vm_private_data;
	struct scatto_channel *ch = scatto_endpoint_channel(ep);

	scatto_window_sleep(UNMAP);
	mutex_lock(&ch->lock);
	scatto_endpoint_unmapped(ep, scatto_vma_writable(vma));
	mutex_unlock(&ch->lock);
}

/* A region is mapped and unmapped whole: no half of it may outlive a role. */
static int scatto_vma_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	return -EINVAL;
}

static const struct vm_operations_struct scatto_vm_ops = {
	.open		= scatto_vma_open,
	.close		= scatto_vma_close,
	.may_split	= scatto_vma_may_split,
};

static const struct scatto_region *
scatto_region_of(const struct scatto_layout *layout,
		 const struct vm_area_struct *vma)
{
	u64 size = vma->vm_end - vma->vm_start;
	unsigned int i;

	for (i = 0; i < SCATTO_NR_REGIONS; i++) {
		const struct scatto_region *r = &layout->region[i];

		/* In pages: a huge vm_pgoff must not wrap. */
		if (vma->vm_pgoff == r->offset >> PAGE_SHIFT && size == r->size)
			return r;
	}
	return NULL;
}

static int scatto_mmap_begin(struct scatto_endpoint *ep, struct scatto_channel *ch,
			     struct vm_area_struct *vma)
{
	int ret = 0;

	mutex_lock(&ch->lock);
	if (!ep->active)
		ret = -EPIPE;
	else if (ep->mm && ep->mm != vma->vm_mm)
		ret = -EBUSY;
	else
		scatto_endpoint_mapped(ep, vma->vm_mm, scatto_vma_writable(vma));
	mutex_unlock(&ch->lock);
	return ret;
}

static int scatto_mmap_pages(struct scatto_channel *ch,
			     const struct scatto_region *region,
			     struct vm_area_struct *vma)
{
	void *from = ch->mem + region->offset;
	unsigned long at;
	int ret = 0;

	for (at = 0; at < region->size && !ret; at += PAGE_SIZE)
		ret = remap_pfn_range(vma, vma->vm_start + at,
				      vmalloc_to_pfn(from + at), PAGE_SIZE,
				      vma->vm_page_prot);
	return ret;
}

int scatto_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct scatto_endpoint *ep = file->private_data;
	struct scatto_channel *ch = scatto_endpoint_channel(ep);
	const struct scatto_region *region;
	struct scatto_layout layout;
	unsigned long deny = VM_MAYEXEC;
	int ret;

	if (!ch)
		return -ENOTCONN;
	scatto_endpoint_layout(ep, &layout);
	region = scatto_region_of(&layout, vma);
	if (!region || !(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (!region->writable)
		deny |= VM_MAYWRITE;
	if (vma->vm_flags & VM_EXEC ||
	    (!region->writable && vma->vm_flags & VM_WRITE))
		return -EACCES;
	/* VM_IO, which remap_pfn_range() sets too, keeps MADV_DOFORK away. */
	vm_flags_mod(vma, VM_IO | VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP,
		     deny);

	ret = scatto_mmap_begin(ep, ch, vma);
	if (ret)
		return ret;
	/*
	 * Counted before anything can be written. Not under the lock: this waits
	 * for page tables, and the dying wait for the lock.
	 */
	ret = scatto_mmap_pages(ch, region, vma);
	if (ret) {
		/* Counted until nothing can be written any more: mm itself unmaps later. */
		zap_special_vma_range(vma, vma->vm_start, region->size);
		mutex_lock(&ch->lock);
		scatto_endpoint_not_mapped(ep, scatto_vma_writable(vma));
		mutex_unlock(&ch->lock);
		return ret;
	}
	vma->vm_ops = &scatto_vm_ops;
	vma->vm_private_data = ep;
	return 0;
}
