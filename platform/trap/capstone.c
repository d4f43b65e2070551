/*
 * Capstone for one processor. Its static library names the decoders of all the others in a table, and so brings 5 MiB of code and 1 MiB of tables with pointers
 * that each process of a sandbox would have to relocate at its start. These definitions, found before the library's own, leave them out: nothing asks for another
 * processor's code.
 */
#include <capstone/capstone.h>

/* cs_priv.h of the library declares them. */
#define OTHER_PROCESSOR(arch)                                                                                          \
	cs_err arch##_global_init(void *handle);                                                                       \
	cs_err arch##_option(void *handle, cs_opt_type type, size_t value);                                            \
	cs_err arch##_global_init(void *handle __attribute__((unused)))                                                \
	{                                                                                                              \
		return CS_ERR_ARCH;                                                                                    \
	}                                                                                                              \
	cs_err arch##_option(void *handle __attribute__((unused)), cs_opt_type type __attribute__((unused)),           \
			     size_t value __attribute__((unused)))                                                     \
	{                                                                                                              \
		return CS_ERR_OPTION;                                                                                  \
	}

OTHER_PROCESSOR(AArch64)
OTHER_PROCESSOR(ARM)
OTHER_PROCESSOR(EVM)
OTHER_PROCESSOR(M680X)
OTHER_PROCESSOR(M68K)
OTHER_PROCESSOR(Mips)
OTHER_PROCESSOR(PPC)
OTHER_PROCESSOR(Sparc)
OTHER_PROCESSOR(SystemZ)
OTHER_PROCESSOR(TMS320C64x)
OTHER_PROCESSOR(XCore)
