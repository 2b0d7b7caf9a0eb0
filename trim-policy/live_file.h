/* The file behind live statistics (live.h): made, filled with what does not change, removed. With
 * policy's state held, but live_file_init and live_file_remove. */
#ifndef LOWTIDE_LIVE_FILE_H
#define LOWTIDE_LIVE_FILE_H

#include "live.h"

/* `root` goes in front of /dev/shm. */
HIDDEN void live_file_init(const char *root);

/* The page of this process, mapped, its magic still 0; NULL when it cannot be had. Removes on the
 * way what dead processes of this user left. About 20 system calls. */
HIDDEN struct live_page *live_file_make(int pid);

/* Removes the file, and the directory when it was the last. */
HIDDEN void live_file_remove(void);

#endif
