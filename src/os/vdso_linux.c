/* vdso_linux.c -- see vdso.h
 *
 * The image is a shared object, laid out as its program headers say.  Linkers put the table of names right
 * behind the table of symbols, so that ends there: its length stands nowhere else but in the hash tables.
 */
#include "os/vdso.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>

#include "base/compiler.h"

static const void *table_of(uintptr_t shift, const ElfW(Dyn) *dynamic, ElfW(Sxword) tag)
{
    for (; dynamic->d_tag != DT_NULL; dynamic++)
        if (dynamic->d_tag == tag)
            return (const void *)(shift + dynamic->d_un.d_ptr);
    return NULL;
}

static void *find_symbol(uintptr_t shift, const ElfW(Dyn) *dynamic, const char *name)
{
    const ElfW(Sym) *symbol = table_of(shift, dynamic, DT_SYMTAB);
    const char *names = table_of(shift, dynamic, DT_STRTAB);

    if (symbol == NULL || names == NULL)
        return NULL;
    for (; (const char *)(symbol + 1) <= names; symbol++)
        if (symbol->st_shndx != SHN_UNDEF && strcmp(names + symbol->st_name, name) == 0)
            return (void *)(shift + symbol->st_value);
    return NULL;
}

void *vdso_find(const char *name)
{
    uintptr_t image = getauxval(AT_SYSINFO_EHDR), shift = 0;
    const ElfW(Dyn) *dynamic = NULL;

    if (image == 0)
        return NULL;
    const ElfW(Ehdr) *header = (const void *)image;
    const ElfW(Phdr) *part = (const void *)(image + header->e_phoff);

    for (unsigned i = 0; i < header->e_phnum; i++) {
        if (part[i].p_type == PT_LOAD && shift == 0)
            shift = image + part[i].p_offset - part[i].p_vaddr;
        if (part[i].p_type == PT_DYNAMIC)
            dynamic = (const void *)(image + part[i].p_offset);
    }
    return shift == 0 || dynamic == NULL ? NULL : find_symbol(shift, dynamic, name);
}
