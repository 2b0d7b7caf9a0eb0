/* Reading the kernel's small files from inside an allocator.
 *
 * One thread at a time, since paths and what is read are put into static buffers: an allocator's
 * slow path may run on the smallest of stacks.
 *
 * The system calls are made directly, not through libc's open and read: those are cancellation
 * points, which malloc must not be, and other preloaded libraries wrap them with code that
 * allocates. A descriptor is open only during one call of the first kind, or between
 * file_open_lines and file_close_lines, and is never inherited by an exec. errno is kept.
 */
#ifndef LOWTIDE_FILE_H
#define LOWTIDE_FILE_H

#include "text.h"

/* For the text of one file at a time. */
enum { FILE_SCRATCH_BYTES = 4096 };
extern HIDDEN char file_scratch[FILE_SCRATCH_BYTES];

/* A path under construction; too long = `is_whole` false and nothing is opened. */
enum { FILE_PATH_BYTES = 1408 };
struct file_path {
    size_t bytes;
    bool is_whole;
    char string[FILE_PATH_BYTES];
};

HIDDEN void file_path_begin(struct file_path *path, const char *root);
HIDDEN void file_path_add(struct file_path *path, struct text text);

/* Reads the file root + name into `buffer`. Where it does not fit, the line that was cut is left
 * out. An empty text when it cannot be read. */
HIDDEN struct text file_read(const char *root, const char *name, char *buffer, size_t room);

/* The same for directory + '/' + name. */
HIDDEN struct text file_read_in(struct text directory, const char *name, char *buffer, size_t room);

/* Of /proc/self/stat what stands behind the program's name, which may hold anything: the state is
 * the first word. Into file_scratch. */
HIDDEN struct text file_read_own_stat(void);

/* A long file, line by line. A line longer than the buffer is passed over. */
enum { FILE_LINE_BYTES = 2048, FILE_MAX_BYTES = 4 << 20 };
struct file_lines {
    int fd;
    size_t left;       /* bytes that may still be read: no file keeps the thread for ever */
    bool is_skipping;  /* until the end of a line that was too long */
    size_t begin, end; /* of what is read and not yet handed out */
    char buffer[FILE_LINE_BYTES];
};
HIDDEN bool file_open_lines(struct file_lines *lines, const char *root, const char *name);
HIDDEN bool file_next_line(struct file_lines *lines, struct text *line);
HIDDEN void file_close_lines(struct file_lines *lines);

#endif
