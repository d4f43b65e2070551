/*
 * /proc/sysvipc/{shm,sem,msg} and the limits in /proc/sys/kernel: proc(5), sysvipc(7). They are about the reader's IPC namespace. The tables show all
 * objects, whoever may read them, in the columns that ipcs(1) knows by position.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/proc/proc.h"
#include "sentry/ipc.h"
#include "sentry/task.h"

static struct ipc_namespace *ns_of(struct ctx *c)
{
	return ctx_task(c)->ipc_ns;
}

static int highest(struct ipc_namespace *ns, enum ipc_kind kind)
{
	int max;

	ipc_lock(ns);
	max = ipc_max_index(&ns->ids[kind]);
	ipc_unlock(ns);
	return max;
}

static int shm_show(struct ctx *c, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct ipc_namespace *ns = ns_of(c);
	struct shmid_ds d;
	uint64_t rss;

	seq_puts(
	    s,
	    "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime   "
	    "   dtime      ctime                   rss                  swap\n");
	for (int i = 0, max = highest(ns, IPC_SHM); i <= max; i++) {
		int id = (int)shm_stat(ns, c->cred, i, true, true, &d, &rss);

		if (id >= 0)
			seq_printf(s,
				   "%10d %10d  %4o %21lu %5u %5u  %5lu %5u %5u %5u %5u %10ld %10ld %10ld %21" PRIu64
				   " %21u\n",
				   d.shm_perm.__key, id, d.shm_perm.mode, d.shm_segsz, (unsigned)d.shm_cpid,
				   (unsigned)d.shm_lpid, d.shm_nattch, d.shm_perm.uid, d.shm_perm.gid, d.shm_perm.cuid,
				   d.shm_perm.cgid, d.shm_atime, d.shm_dtime, d.shm_ctime, rss, 0u);
	}
	return 0;
}

static int sem_show(struct ctx *c, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct ipc_namespace *ns = ns_of(c);
	struct semid_ds d;

	seq_puts(s, "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
	for (int i = 0, max = highest(ns, IPC_SEM); i <= max; i++) {
		int id = (int)sem_stat(ns, c->cred, i, true, true, &d);

		if (id >= 0)
			seq_printf(s, "%10d %10d  %4o %10lu %5u %5u %5u %5u %10ld %10ld\n", d.sem_perm.__key, id,
				   d.sem_perm.mode, d.sem_nsems, d.sem_perm.uid, d.sem_perm.gid, d.sem_perm.cuid,
				   d.sem_perm.cgid, d.sem_otime, d.sem_ctime);
	}
	return 0;
}

static int msg_show(struct ctx *c, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct ipc_namespace *ns = ns_of(c);
	struct msqid_ds d;

	seq_puts(
	    s, "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      "
	       "rtime      ctime\n");
	for (int i = 0, max = highest(ns, IPC_MSG); i <= max; i++) {
		int id = (int)msg_stat(ns, c->cred, i, true, true, &d);

		if (id >= 0)
			seq_printf(s, "%10d %10d  %4o  %10lu %10lu %5u %5u %5u %5u %5u %5u %10ld %10ld %10ld\n",
				   d.msg_perm.__key, id, d.msg_perm.mode, d.__msg_cbytes, d.msg_qnum,
				   (unsigned)d.msg_lspid, (unsigned)d.msg_lrpid, d.msg_perm.uid, d.msg_perm.gid,
				   d.msg_perm.cuid, d.msg_perm.cgid, d.msg_stime, d.msg_rtime, d.msg_ctime);
	}
	return 0;
}

const struct pseudo_node proc_sysvipc_nodes[] = {
    {.name = "msg", .mode = 0444, .show = msg_show},
    {.name = "sem", .mode = 0444, .show = sem_show},
    {.name = "shm", .mode = 0444, .show = shm_show},
    PSEUDO_END,
};

/* ---- limits ---- */

int proc_ipc_limit_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	struct ipc_namespace *ns = ns_of(c);
	const char *name = r->node->name;
	struct ipc_limits l;

	ipc_lock(ns);
	l = ns->limits;
	ipc_unlock(ns);
	if (strcmp(name, "sem") == 0)
		seq_printf(s, "%d\t%d\t%d\t%d\n", l.sem[0], l.sem[1], l.sem[2], l.sem[3]);
	else if (strcmp(name, "shmmax") == 0 || strcmp(name, "shmall") == 0)
		seq_printf(s, "%" PRIu64 "\n", name[3] == 'm' ? l.shmmax : l.shmall);
	else
		seq_printf(s, "%d\n",
			   strcmp(name, "shmmni") == 0   ? l.shmmni
			   : strcmp(name, "msgmax") == 0 ? l.msgmax
			   : strcmp(name, "msgmnb") == 0 ? l.msgmnb
							 : l.msgmni);
	return 0;
}

/* The next number of *text, which moves behind it; false: there is none, or one above max. */
static bool next_number(char **text, uint64_t max, uint64_t *ret)
{
	char *at = *text + strspn(*text, " \t\n");

	if (*at < '0' || *at > '9')
		return false;
	errno = 0;
	*ret = strtoull(at, text, 10);
	return !errno && *ret <= max && (!**text || strchr(" \t\n", **text));
}

static int store_sem(struct ipc_limits *l, char *text)
{
	uint64_t v[4];

	for (int i = 0; i < 4; i++)
		v[i] = (uint64_t)l->sem[i];
	for (int i = 0; i < 4 && text[strspn(text, " \t\n")]; i++)
		if (!next_number(&text, INT32_MAX, &v[i]))
			return -EINVAL;
	if (v[SEM_MNI] > IPC_MAX_OBJECTS)
		return -ERANGE;
	for (int i = 0; i < 4; i++)
		__atomic_store_n(&l->sem[i], (int)v[i], __ATOMIC_RELAXED);
	return 0;
}

static int store_limit(struct ipc_limits *l, const char *name, char *text)
{
	bool number_of = strcmp(name + 3, "mni") == 0;
	bool wide = strcmp(name, "shmmax") == 0 || strcmp(name, "shmall") == 0;
	uint64_t v;
	int *to;

	if (strcmp(name, "sem") == 0)
		return store_sem(l, text);
	if (!next_number(&text, wide ? UINT64_MAX : number_of ? IPC_MAX_OBJECTS : INT32_MAX, &v))
		return -EINVAL;
	if (wide) {
		*(name[3] == 'm' ? &l->shmmax : &l->shmall) = v;
		return 0;
	}
	to = name[0] == 's' ? &l->shmmni : number_of ? &l->msgmni : name[4] == 'a' ? &l->msgmax : &l->msgmnb;
	__atomic_store_n(to, (int)v, __ATOMIC_RELAXED);
	return 0;
}

int proc_ipc_limit_store(struct ctx *c, const struct pseudo_ref *r, char *text, size_t size __unused)
{
	struct ipc_namespace *ns = ns_of(c);
	int err;

	ipc_lock(ns);
	err = store_limit(&ns->limits, r->node->name, text);
	ipc_unlock(ns);
	return err;
}
