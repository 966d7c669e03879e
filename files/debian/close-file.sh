#!/bin/sh
# Given a path: nobody but the owner and the group of the file there may do anything with it any more.
# By descriptor: whoever may write in the directory could put a link in the place of a name.
exec perl -MFcntl -e '
  sysopen(my $file, $ARGV[0], O_RDONLY | O_NOFOLLOW | O_NONBLOCK) or die "$ARGV[0]: $!\n";
  my ($mode, $names) = (stat $file)[2, 3];
  die "$ARGV[0]: is no file with one name alone, so nothing was changed: see who made it, then remove it\n"
    if !-f _ || $names != 1;
  chmod $mode & 0770, $file or die "$ARGV[0]: $!\n";
' -- "$1"
