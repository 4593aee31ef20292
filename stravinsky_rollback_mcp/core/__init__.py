"""The rules: pure functions over values. Nothing here touches a disk, a clock, the environment or chance."""
