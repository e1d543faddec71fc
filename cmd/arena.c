/* arena.c: a list of pieces.
 *
 * For what is read once and goes as a whole, as a file's settings do; each piece is a calloc of its own, so that the
 * sanitizers see what goes beyond its end. */
#include "arena.h"

#include <stdlib.h>
#include <string.h>

struct arena_piece {
    arena_piece *next;
    max_align_t bytes[];
};

void *arena_take(arena *self, size_t size) {
    arena_piece *piece = size < (size_t)-1 / 2 ? calloc(1, sizeof *piece + size) : NULL;
    if (!piece)
        return NULL;
    piece->next = self->pieces;
    self->pieces = piece;
    return piece->bytes;
}

char *arena_text(arena *self, const char *text, size_t size) {
    char *copy = arena_take(self, size + 1);
    if (copy && size)
        memcpy(copy, text, size);
    return copy;
}

void arena_free(arena *self) {
    while (self->pieces) {
        arena_piece *next = self->pieces->next;
        free(self->pieces);
        self->pieces = next;
    }
}
