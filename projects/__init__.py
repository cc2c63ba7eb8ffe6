"""A second demo product, for catalogues that sell by size: projects count against a limit, events against a meter."""
