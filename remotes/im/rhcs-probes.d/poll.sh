#!/usr/libexec/one-clvm/vmm-rhcs
