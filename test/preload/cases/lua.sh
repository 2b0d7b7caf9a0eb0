# needs: lua
# Every table and string is one realloc of the interpreter's.
exec lua "$PROGRAMS/tour.lua"
