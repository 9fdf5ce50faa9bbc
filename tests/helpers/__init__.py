# SPDX-License-Identifier: Apache-2.0
"""What tests share, one noun a file; test files import from here and never from one another."""
