/* PURPOSE: a shared object that roots.c loads at run time, with data and TLS of its own. */
struct block;

struct block *plugin_data[200];
static _Thread_local struct block *per_thread[200];

struct block **plugin_tls(void);

struct block **plugin_tls(void)
{
    return per_thread;
}
