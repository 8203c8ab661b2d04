"""Takes the power from an ext4 file system: what it had not written is gone, and every further write fails.

    power_cut.py MOUNT-POINT
"""
import fcntl
import os
import struct
import sys

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2

directory = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
try:
    fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
except OSError as error:
    sys.exit(f"power_cut: EXT4_IOC_SHUTDOWN on {sys.argv[1]}: {error}")
