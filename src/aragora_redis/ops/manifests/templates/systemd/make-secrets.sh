<%= text_of("compose/make-secrets.sh", plan) -%>
