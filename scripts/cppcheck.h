/* cppcheck.h: for cppcheck, which does not read the system's headers: what sys/queue.h's macros do; libbsd's trees are
 * left out. */
#define TAILQ_FOREACH(v, h, f) for ((v) = (h)->tqh_first; (v); (v) = (v)->f.tqe_next)
#define TAILQ_FIRST(h) ((h)->tqh_first)
#define TAILQ_NEXT(e, f) ((e)->f.tqe_next)
#define RB_GENERATE_STATIC(n, t, f, c)
