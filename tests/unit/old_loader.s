# A program linked with this and -no-pie finds no _dl_find_object, as before glibc 2.35. Hidden, so that libgcc_s,
# which needs it, finds the real one. (In a PIE null would become the load address.)
    .globl _dl_find_object
    .hidden _dl_find_object
    .set _dl_find_object, 0
    .data
    .globl prof_test_old_loader
    .hidden prof_test_old_loader
prof_test_old_loader:
    .byte 1
    .section .note.GNU-stack,"",@progbits
