/* test_dirs.c: what must be synced so that a power failure takes no name back. fsync is this program's own, which notes
 * for what it is called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/dirs.h"
#include "base/replace.h"
#include "journal/io.h"

static char synced[64][512];
static size_t sync_count;
static int sync_fault; /* errno, or 0 */

int fsync(int fd) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, synced[sync_count], sizeof *synced - 1);
    if (n > 0 && sync_count < 63)
        synced[sync_count++][n] = 0;
    errno = sync_fault;
    return sync_fault ? -1 : (int)syscall(SYS_fsync, fd);
}

static bool was_synced(const char *format, const char *top) {
    char path[512];
    snprintf(path, sizeof path, format, top);
    for (size_t i = 0; i < sync_count; i++)
        if (strcmp(synced[i], path) == 0)
            return true;
    return false;
}

static int set_up(void **state) {
    char *top = strdup("/tmp/evb-dirs-XXXXXX");
    sync_count = 0;
    sync_fault = 0;
    *state = mkdtemp(top);
    return *state ? 0 : -1;
}

static int tear_down(void **state) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    free(*state);
    return system(command);
}

static const char *below(void **state, const char *rest) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", (char *)*state, rest);
    return path;
}

static void each_new_name_is_synced(void **state) {
    struct stat st;
    assert_int_equal(evb_dirs_make(below(state, "a/b//c")), 0);
    assert_true(was_synced("%s", *state));
    assert_true(was_synced("%s/a", *state));
    assert_true(was_synced("%s/a/b", *state));
    assert_int_equal(stat(below(state, "a/b/c"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

/* Who made it may have been killed before it was synced. */
static void a_name_that_was_there_is_synced_too(void **state) {
    assert_int_equal(mkdir(below(state, "a"), 0700), 0);
    assert_int_equal(evb_dirs_make(below(state, "a/")), 0);
    assert_true(was_synced("%s", *state));
}

static void a_name_that_cannot_be_synced_is_an_error(void **state) {
    sync_fault = EIO;
    assert_int_equal(evb_dirs_make(below(state, "a/b")), -1);
    assert_int_equal(errno, EIO);
}

static void a_name_in_the_directory_where_we_are(void **state) {
    assert_int_equal(chdir(*state), 0);
    assert_int_equal(evb_dirs_make("a/b"), 0);
    assert_true(was_synced("%s", *state));
    assert_int_equal(evb_dirs_make("./c"), 0);
    assert_int_equal(access("c", F_OK), 0);
    assert_int_equal(chdir("/"), 0);
}

static void a_journals_directories_and_files(void **state) {
    evb_error err;
    evb_io *io = evb_io_disk_new(below(state, "state/evbus"), &err);
    assert_non_null(io);
    assert_true(was_synced("%s", *state));
    assert_true(was_synced("%s/state", *state));
    assert_false(was_synced("%s/state/evbus", *state));
    int fd = evb_io_create(io, "x");
    assert_true(fd >= 0);
    assert_true(was_synced("%s/state/evbus", *state));
    io->close(io, fd);
    sync_fault = EIO;
    assert_int_equal(evb_io_create(io, "y"), -1);
    assert_int_equal(errno, EIO);
    assert_int_equal(io->open(io, "y", false), -1);
    evb_io_destroy(&io);
}

static void a_replaced_file_in_new_directories(void **state) {
    evb_error err;
    char path[512], temporary[520];
    snprintf(path, sizeof path, "%s", below(state, "cursors/c"));
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    int fd = evb_replace_open(path, temporary, &err);
    assert_true(fd >= 0);
    assert_int_equal(evb_replace_commit(fd, path, temporary, &err), 0);
    assert_true(was_synced("%s", *state));
    assert_true(was_synced("%s/cursors", *state));
    assert_true(was_synced("%s/cursors/c.tmp", *state));
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(each_new_name_is_synced),
        T(a_name_that_was_there_is_synced_too),
        T(a_name_that_cannot_be_synced_is_an_error),
        T(a_name_in_the_directory_where_we_are),
        T(a_journals_directories_and_files),
        T(a_replaced_file_in_new_directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
